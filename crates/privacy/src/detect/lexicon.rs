//! The words that say what a value near them is: key names (`birth_date=`), labels of prose (`né le`), street types.
//!
//! A key is read backwards, letter by letter, so that `patient.first_name`, `patientFirstName` and `FIRST-NAME` all end in
//! the one entry `firstname`; the longest entry that ends a key decides, so `file_name` is no name. Each entry carries
//! bits, since one word may vouch for several types. The table is made by the compiler; looking a word up costs one
//! multiplication a letter and one probe.

/// What a word says. One bit each.
pub(crate) mod bit {
    macro_rules! bits {
        ($($name:ident = $place:expr,)*) => { $(pub(crate) const $name: u64 = 1 << $place;)* };
    }
    bits! {
        PERSON = 0, MAYBE_PERSON = 1, USERNAME = 2, DOB = 3, ADDRESS = 4, PHONE = 5, PHONE_KEY = 6, CARD = 7,
        NIR = 8, INS = 9, NIF = 10, SIRET = 11, RPPS = 12, ADELI = 13, INE = 14, NHS = 15,
        NINO = 16, SSN = 17, NISS = 18, IDNR = 19, DNI = 20, CF = 21, VAT = 22, LEI = 23,
        IMEI = 24, PASSPORT = 25, CNI = 26, LICENCE = 27, PLATE = 28, GEO = 29, HEALTH = 30, WEAK_SECRET = 31,
        ROLE = 32, STREET = 33, VERSION = 34, MONTH = 35, MAYBE_USERNAME = 36, HEALTH_TEXT = 37,
        STREET_END = 40, CARE_ROLE = 41, PLURAL = 63,
    }
}
use bit::*;

/// Entries by what they say, folded: lower case, no accents, nothing but letters and digits. An entry under `PLURAL` is
/// also known with an `s` behind it.
const ENTRIES: &[(u64, &str)] = &[
    (
        PERSON | PLURAL,
        "lastname firstname fullname surname familyname givenname middlename maidenname forename \
        firstnames nom prenom nomcomplet nomprenom prenomnom nomdefamille nomdenaissance nomusage nomusuel nomdusage nomjeunefille nompatient \
        patientname patientnom patientprenom nomeleve nomclient clientname customername studentname employeename contactname nometudiant \
        holdername cardholder cardholdername accountholder beneficiaryname recipientname sendername authorname ownername \
        displayname realname personname membername guestname passengername teachername doctorname physicianname drivername \
        billingname shippingname legalname nomtitulaire titulaire nomassure nombeneficiaire nomdestinataire nommedecin \
        nachname vorname familienname apellido apellidos nombreapellidos nombrecompleto cognome nomecognome nomecompleto \
        gecos payername payeename tutorname parentname nomparent nomresponsable nommere nompere mothername fathername \
        insuredname subscribername applicantname candidatename visitorname callername inviteename lname fname \
        nomenseignant nomprofesseur nomutilisateurcomplet",
    ),
    (
        MAYBE_PERSON | PLURAL,
        "name patient patiente eleve etudiant etudiante student customer client cliente owner author \
        auteur contact user utilisateur utilisatrice employee employe employee salarie salariee doctor docteur medecin physician \
        nurse infirmier infirmiere teacher professeur prof enseignant enseignante member membre guest passenger driver recipient \
        destinataire beneficiary beneficiaire assure assuree parent tuteur tutrice responsable signataire signedby \
        createdby updatedby approvedby assignedto reportedby nombre nome person personne praticien prescripteur \
        holder payer payee sender expediteur applicant candidate candidat candidate who qui abonne abonnee adherent \
        adherente conducteur locataire resident residente proche paciente alumno alumna kunde kundin schuler paziente \
        cliente patientin insured subscriber caller visitor attendee participant participante assignee reporter editor approver \
        interlocuteur interlocutrice representant representante destinatario",
    ),
    (
        USERNAME,
        "username login loginname userlogin logonname logon useraccount accountname samaccountname nickname \
        pseudo identifiant nomutilisateur nomdutilisateur usuario nomeutente benutzername benutzer screenname handle \
        twitterhandle ruser acct usr suser dbuser srcuser dstuser targetusername subjectusername remoteuser authuser \
        loginid userprincipalname upn compte nomdecompte",
    ),
    (MAYBE_USERNAME, "user uid userid utilisateur account"),
    (
        DOB | PLURAL,
        "dob birthdate birthday dateofbirth birth born datebirth bday naissance datenaissance datedenaissance \
        datenais ddn nele neele ne nee dnaissance geboren geburtsdatum geburtstag nacimiento fechanacimiento \
        fechadenacimiento nacido nacida nascita datanascita datadinascita natoil nato nata birthdt dtnaissance \
        birthyear ddnaissance geb",
    ),
    (
        ADDRESS,
        "address streetaddress postaladdress homeaddress billingaddress shippingaddress deliveryaddress \
        mailingaddress address1 address2 addressline addressline1 addressline2 addr1 street adresse adressepostale adressecomplete \
        adresselivraison adressefacturation adressedelivraison adressedefacturation rue domicile adr residence \
        direccion domicilio indirizzo anschrift strasse wohnort addresse livraison facturation",
    ),
    (
        PHONE_KEY | PHONE | PLURAL,
        "tel telephone telephonenumber telefon telefono telefone telnumber telno phone phonenumber phoneno mobile \
        mobilenumber mobilephone homephone workphone portable fax gsm numerotelephone numerodetelephone telmobile telfixe msisdn \
        cellphone cellulare whatsapp movil rufnummer telefonnummer handynummer handy mobil telportable notel numtel phonenum \
        telefonnr telnr callerid callernumber",
    ),
    (
        PHONE | PLURAL,
        "appel appeler appele call called caller calling sms cell contact contacter joindre rappel rappeler rappele \
        rappelee appelez dial dialed dialing hotline callback ring rang reach joignable",
    ),
    (
        CARD | PLURAL,
        "card cardnumber cardno creditcard creditcardnumber ccnumber ccnum carte cartebancaire visa mastercard amex pan cb cc \
        numerocarte numerodecarte cardpan debitcard tarjeta kreditkarte cartadicredito paymentcard carteb",
    ),
    (
        NIR | SSN | PLURAL,
        "securitesociale numerosecu secu numsecu numerosecuritesociale numerodesecuritesociale nss socialsecurity \
        socialsecuritynumber insee",
    ),
    (NIR, "nir nia numnir numeronir nirassure assure immatriculation numeroassure cartevitale vitale"),
    (INS | NIR, "ins insnir insc matriculeins insi patientins"),
    (
        NIF,
        "nif spi numerofiscal numfiscal fiscal referencefiscale identifiantfiscal nofiscal taxid tin taxnumber \
        taxidentificationnumber nofiscale spinumber",
    ),
    (SIRET, "siret siren sirene numerosiret numsiret nosiret rcs etablissement numerosiren numsiren"),
    (RPPS, "rpps numerorpps numrpps idrpps norpps rppsnumber"),
    (ADELI, "adeli numeroadeli numadeli noadeli adelinumber"),
    (RPPS | ADELI, "praticien prescripteur professionneldesante idps idpp numeropraticien"),
    (
        INE,
        "ine numeroine numine ineleve ineetudiant inerniue bea numerobea rniue identifiantnational \
        identifiantnationaleleve identifiantnationaletudiant inenumber codeine inea noine",
    ),
    (NHS, "nhs nhsnumber nhsno nhsid numeronhs nhsnum"),
    (NINO, "nino nationalinsurance nationalinsurancenumber nationalinsuranceno ninumber insurancenumber ninumber"),
    (SSN, "ssn ssnnumber ssnno socialsecurityno ussn usssn itin taxpayerid"),
    (
        NISS,
        "niss insz rijksregister rijksregisternummer registrenational numeronational numerodenational \
        numeroregistrenational nrn numeroderegistrenational nationalregister nationalregisternumber",
    ),
    (
        IDNR,
        "idnr steuerid steueridnr steueridentifikationsnummer steuernummer steueridnummer identifikationsnummer tin taxid stid",
    ),
    (DNI, "dni nie nif dninie documentodeidentidad documento numerodni"),
    (CF, "codicefiscale codfiscale cf codfisc"),
    (
        VAT,
        "vat vatnumber vatid vatno tva numerotva numtva tvaintracom tvaintracommunautaire intracom intracommunautaire \
        ustid ustidnr umsatzsteuer iva partitaiva piva btw btwnummer nifiva vatin notva taxvat",
    ),
    (LEI, "lei leicode legalentityidentifier codelei"),
    (IMEI, "imei imeisv imei1 imei2 imeinumber deviceimei"),
    (
        PASSPORT,
        "passport passportnumber passportno passeport numeropasseport numpasseport nopasseport pasaporte passaporto \
        reisepass passnummer passnr reisepassnummer passportid travaldocument traveldocument",
    ),
    (
        CNI,
        "cni cnie carteidentite cartenationaledidentite cartenationaleidentite cartedidentite numerocni idcard identitycard identitycardnumber \
        idcardnumber nationalid nationalidcard identite pieceidentite piecedidentite numerocin cin personalausweis \
        ausweis ausweisnummer cartaidentita cartadidentita numcni nocni identitydocument",
    ),
    (
        LICENCE,
        "permis permisdeconduire permisconduire numeropermis drivinglicence drivinglicense driverlicense \
        driverslicense driverlicence driverslicence drivinglicencenumber driverlicensenumber licencenumber licensenumber fuhrerschein patentediguida \
        licenciadeconducir carnetdeconducir numpermis licenceno dln permisnumber drivinglicenceno",
    ),
    (
        PLATE,
        "plaque plaques immatriculation immat numeroimmatriculation plaqueimmatriculation plaquedimmatriculation plate \
        licenseplate licenceplate numberplate platenumber plateno registrationplate vehicule vehicle voiture vehicleregistration matricula kennzeichen targa \
        immatricule immatriculee registration vrn vrm regnumber regno car auto camion parking",
    ),
    (
        GEO | PLURAL,
        "lat latitude lon lng long longitude gps geo geoloc geolocation geolocalisation coord coordonnees coordinates coordinate \
        coords latlng latlon lnglat location localisation position gpsposition geopoint coordonneesgps coordenadas koordinaten",
    ),
    (
        HEALTH,
        "icd icd10 cim cim10 diagnostic diagnosis diagcode codediag codediagnostic diagnostique diag dx icdcode icd10code codecim \
        codecim10 pathologie diagnosticcode diagnosiscode diagnose diagnosi condition conditioncode ald codeald das dp diagprincipal diagnosticprincipal \
        motifadmission motif admis hospitalise",
    ),
    (
        HEALTH_TEXT | PLURAL,
        "pathologie antecedent allergie allergy maladie illness disease medicalhistory medicalcondition \
        antecedentsmedicaux bloodtype groupesanguin",
    ),
    (
        WEAK_SECRET,
        "key sig signature auth session sid code hmac pat pin otp sas nonce access xamzsignature xamzcredential",
    ),
    (
        ROLE,
        "patient patiente eleve etudiant etudiante student client cliente customer salarie salariee employe employee \
        utilisateur utilisatrice user titulaire beneficiaire assure assuree signataire contact nomme nommee named docteur \
        doctor medecin infirmier infirmiere nurse professeur enseignant enseignante teacher madame monsieur mademoiselle mme mr mrs ms dr pr m mlle \
        passager passenger conducteur driver resident residente locataire parent abonne abonnee adherent adherente membre \
        member guest paciente alumno alumna senora senor frau herr signor signora paziente candidat candidate usager employees \
        apprenant apprenante tuteur tutrice praticien prescripteur agent conseiller conseillere gestionnaire acheteur acheteuse vendeur \
        buyer seller subscriber insured tenant caller colleague collegue pupil sir madam miss interlocuteur assistante assistant par avec appele appelle \
        rappeler recontacter contacter prevenir joindre cher chere dear bonjour hello",
    ),
    (
        CARE_ROLE,
        "patient patiente eleve etudiant etudiante student madame monsieur mademoiselle mme mr mrs ms dr pr m mlle docteur \
        senora senor frau herr signor signora nommee nomme pupil apprenant apprenante titulaire assure assuree",
    ),
    (
        STREET,
        "rue avenue av ave boulevard bd bld bvd blvd place pl allee allees impasse imp chemin che route rte quai cours square sq \
        passage faubourg fg residence lotissement sentier voie villa hameau rondpoint esplanade montee venelle ruelle \
        promenade chaussee domaine cite sente traverse parvis mail clos calle avenida plaza paseo via viale piazza corso",
    ),
    (
        STREET_END,
        "street st road rd avenue ave lane ln drive dr court ct boulevard blvd way square sq terrace close crescent \
        gardens grove hill park row mews walk place parkway pkwy highway hwy circle cir green gate",
    ),
    (VERSION, "version ver release build firmware kernel revision oid"),
    (MONTH, MONTH_WORDS),
    // Names of things, which would else end in `name`, `user`, `address`, `contact` and the like.
    (
        0,
        "hostname filename pathname servername servicename classname methodname podname nodename tablename dbname databasename \
        domainname dnsname appname applicationname eventname jobname taskname taskname queuename topicname bucketname \
        containername imagename imagename namespacename clustername devicename interfacename ifname rulename groupname rolename keyname \
        columnname fieldname indexname schemaname modulename packagename functionname threadname loggername processname programname \
        resourcename rolename scopename sessionname streamname zonename regionname spanname operationname metricname \
        brandname productname companyname storename cityname countryname statename sitename pagename tagname \
        variablename attributename templatename commandname exename exchangename collectionname volumename channelname \
        branchname reponame repositoryname projectname workflowname stepname stagename environmentname envname profilename \
        planname campaignname layoutname themename typename rulesetname policyname checkname alertname monitorname instancename \
        deploymentname replicasetname statefulsetname configname secretname metadataname pluginname extensionname \
        ipaddress macaddress memoryaddress baseaddress startaddress endaddress remoteaddress localaddress listenaddress bindaddress \
        serveraddress clientaddress sourceaddress destinationaddress destaddress hostaddress returnaddress virtualaddress physicaladdress \
        remoteaddr remoteaddresses walletaddress contractaddress emailaddress adresseip adressemac adressemail adresseemail adresseelectronique \
        useragent httpuseragent usergroup userrole usercount usertype userspace usermode clientid customerid patientid studentid \
        mailaddress peeraddress gatewayaddress subnetaddress",
    ),
];

const MONTH_WORDS: &str = "january february march april may june july august september october november december jan feb mar apr jun jul \
        aug sep sept oct nov dec janvier fevrier mars avril mai juin juillet aout septembre octobre novembre decembre janv \
        fevr avr juil enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre gennaio febbraio aprile \
        maggio giugno luglio settembre ottobre novembre dicembre januar februar marz juni juli oktober dezember";
const MONTH_ENTRIES: &[(u64, &str)] = &[(MONTH, MONTH_WORDS)];

const SLOTS: usize = 8_192;
const SEED: u64 = 0xCBF2_9CE4_8422_2325;

/// Takes one more letter into a word's hash (FNV-1a).
pub(crate) const fn step(hash: u64, byte: u8) -> u64 {
    (hash ^ byte as u64).wrapping_mul(0x0000_0100_0000_01B3)
}

/// The hash of no letters.
pub(crate) const fn seed() -> u64 {
    SEED
}

const fn slot_of(hash: u64, slots: usize) -> usize {
    (hash ^ (hash >> 32) ^ (hash >> 17)) as usize & (slots - 1)
}

/// An open-addressed table from a word's hash to its bits.
pub(crate) struct Table<const N: usize> {
    hashes: [u64; N],
    bits: [u64; N],
}

impl<const N: usize> Table<N> {
    /// Makes the table of `entries`, whose words are hashed from their last letter to their first where `backwards`.
    pub(crate) const fn of(entries: &[(u64, &str)], backwards: bool) -> Self {
        let mut table = Self { hashes: [0; N], bits: [0; N] };
        let mut entry = 0;
        while entry < entries.len() {
            let (bits, words) = entries[entry];
            let words = words.as_bytes();
            let mut start = 0;
            while start < words.len() {
                let mut end = start;
                while end < words.len() && words[end] != b' ' {
                    end += 1;
                }
                if end > start {
                    table.put(hash_of(words, start, end, backwards, false), bits & !PLURAL);
                    if bits & PLURAL != 0 {
                        table.put(hash_of(words, start, end, backwards, true), bits & !PLURAL);
                    }
                }
                start = end + 1;
            }
            entry += 1;
        }
        table
    }

    const fn put(&mut self, hash: u64, bits: u64) {
        let mut slot = slot_of(hash, N);
        while self.hashes[slot] != 0 && self.hashes[slot] != hash {
            slot = (slot + 1) & (N - 1);
        }
        self.hashes[slot] = hash;
        self.bits[slot] |= bits;
    }

    /// Returns what the word with that hash says, or `None` for a word that is not listed.
    pub(crate) fn get(&self, hash: u64) -> Option<u64> {
        let mut slot = slot_of(hash, N);
        loop {
            match self.hashes[slot] {
                found if found == hash => return Some(self.bits[slot]),
                0 => return None,
                _ => slot = (slot + 1) & (N - 1),
            }
        }
    }
}

const fn hash_of(words: &[u8], start: usize, end: usize, backwards: bool, plural: bool) -> u64 {
    let mut hash = SEED;
    if backwards {
        if plural {
            hash = step(hash, b's');
        }
        let mut at = end;
        while at > start {
            at -= 1;
            hash = step(hash, words[at]);
        }
    } else {
        let mut at = start;
        while at < end {
            hash = step(hash, words[at]);
            at += 1;
        }
        if plural {
            hash = step(hash, b's');
        }
    }
    hash
}

static TABLE: Table<SLOTS> = Table::of(ENTRIES, true);

/// Which three letters can start or end a listed word: 96 of 100 other words are told by them alone.
pub(crate) struct Trios([u64; 512]);

impl Trios {
    /// Gathers the last three letters of all words in `entries` where `ends`, else the first three. Shorter words admit
    /// every letter in the places they do not have.
    pub(crate) const fn of(entries: &[(u64, &str)], ends: bool) -> Self {
        let mut trios = Self([0; 512]);
        let mut entry = 0;
        while entry < entries.len() {
            let (bits, words) = entries[entry];
            let words = words.as_bytes();
            let mut start = 0;
            while start < words.len() {
                let mut end = start;
                while end < words.len() && words[end] != b' ' {
                    end += 1;
                }
                if end > start {
                    let len = end - start;
                    let mut letters = [32_usize; 3];
                    let mut i = 0;
                    while i < 3 && i < len {
                        letters[i] = (words[if ends { end - 1 - i } else { start + i }] & 31) as usize;
                        i += 1;
                    }
                    trios.put(letters);
                    if ends && bits & PLURAL != 0 {
                        trios.put([(b's' & 31) as usize, letters[0], letters[1]]);
                    }
                }
                start = end + 1;
            }
            entry += 1;
        }
        trios
    }

    /// Marks a trio; 32 stands for any letter.
    const fn put(&mut self, letters: [usize; 3]) {
        let mut second = 0;
        while second < 32 {
            let mut third = 0;
            while third < 32 {
                let fits = (letters[1] == 32 || letters[1] == second) && (letters[2] == 32 || letters[2] == third);
                if fits {
                    let slot = letters[0] << 10 | second << 5 | third;
                    self.0[slot / 64] |= 1 << (slot % 64);
                }
                third += 1;
            }
            second += 1;
        }
    }

    /// Tells whether a listed word can have these letters, the outermost first.
    #[inline]
    pub(crate) fn admits(&self, first: u8, second: u8, third: u8) -> bool {
        let slot = usize::from(first & 31) << 10 | usize::from(second & 31) << 5 | usize::from(third & 31);
        self.0[slot / 64] & 1 << (slot % 64) != 0
    }
}

static ENDS: Trios = Trios::of(ENTRIES, true);

/// Which letters can end a listed word that has at least as many, by a hash of them: what [`ENDS`] admits by chance.
struct Tails([u64; 1024]);

impl Tails {
    /// Gathers the last `count` letters of the listed words.
    const fn of(entries: &[(u64, &str)], count: usize) -> Self {
        let mut tails = Self([0; 1024]);
        let mut entry = 0;
        while entry < entries.len() {
            let (bits, words) = entries[entry];
            let words = words.as_bytes();
            let mut start = 0;
            while start < words.len() {
                let mut end = start;
                while end < words.len() && words[end] != b' ' {
                    end += 1;
                }
                tails.put(words, start, end, count, 0);
                if bits & PLURAL != 0 {
                    tails.put(words, start, end, count - 1, tail(0, b's'));
                }
                start = end + 1;
            }
            entry += 1;
        }
        tails
    }

    const fn put(&mut self, words: &[u8], start: usize, end: usize, count: usize, behind: u64) {
        if end < start + count {
            return;
        }
        let (mut letters, mut i) = (behind, 0);
        while i < count {
            i += 1;
            letters = tail(letters, words[end - i]);
        }
        let slot = Self::slot(letters);
        self.0[slot / 64] |= 1 << (slot % 64);
    }

    const fn slot(letters: u64) -> usize {
        (letters.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48) as usize
    }

    /// Tells whether a listed word can end with these letters, made by [`tail`].
    const fn admits(&self, letters: u64) -> bool {
        let slot = Self::slot(letters);
        self.0[slot / 64] & 1 << (slot % 64) != 0
    }
}

/// Takes one more letter in front of those at the end of a word, five bits each.
pub(super) const fn tail(letters: u64, before: u8) -> u64 {
    letters << 5 | (before & 31) as u64
}

static FOURS: Tails = Tails::of(ENTRIES, 4);
static SIXES: Tails = Tails::of(ENTRIES, 6);

/// Which four bytes, in either case, can end a word of four letters and digits of ASCII that is listed or ends as a listed
/// one does: by a hash of them, so that a word is told by one load of its end.
struct Endings([u64; 1024]);

impl Endings {
    const fn of(entries: &[(u64, &str)]) -> Self {
        let mut endings = Self([0; 1024]);
        let mut entry = 0;
        while entry < entries.len() {
            let (bits, words) = entries[entry];
            let words = words.as_bytes();
            let mut start = 0;
            while start < words.len() {
                let mut end = start;
                while end < words.len() && words[end] != b' ' {
                    end += 1;
                }
                if end >= start + 4 {
                    endings.put([words[end - 4], words[end - 3], words[end - 2], words[end - 1]]);
                }
                if bits & PLURAL != 0 && end >= start + 3 {
                    endings.put([words[end - 3], words[end - 2], words[end - 1], b's']);
                }
                start = end + 1;
            }
            entry += 1;
        }
        endings
    }

    const fn put(&mut self, end: [u8; 4]) {
        let slot = Self::slot(end);
        self.0[slot / 64] |= 1 << (slot % 64);
    }

    #[inline]
    const fn slot(end: [u8; 4]) -> usize {
        // The bit that a capital lacks is set: of a digit it is set already.
        ((u32::from_le_bytes(end) | 0x2020_2020).wrapping_mul(0x9E37_79B1) >> 16) as usize
    }

    #[inline]
    const fn admits(&self, end: [u8; 4]) -> bool {
        let slot = Self::slot(end);
        self.0[slot / 64] & 1 << (slot % 64) != 0
    }
}

static ENDINGS: Endings = Endings::of(ENTRIES);

/// Tells whether a word that ends with these four letters and digits can be listed, or can end as a listed word does.
/// Shorter words, which a capital may set off inside of it, are not told.
#[inline]
pub(crate) fn may_end_long(end: [u8; 4]) -> bool {
    ENDINGS.admits(end)
}

/// Which letter or digit can end a listed word, and which can stand before it there. Bit `i` of the second stands for the
/// letter whose last five bits are `i`.
static LASTS: [u32; 256] = {
    let mut lasts = [0; 256];
    let mut entry = 0;
    while entry < ENTRIES.len() {
        let (bits, words) = ENTRIES[entry];
        let words = words.as_bytes();
        let mut at = 0;
        while at < words.len() {
            let ends = at + 1 == words.len() || words[at + 1] == b' ';
            if ends && words[at] != b' ' {
                // Of one letter, any may stand before it: another word's.
                let alone = at == 0 || words[at - 1] == b' ';
                lasts[words[at] as usize] |= if alone { u32::MAX } else { 1 << (words[at - 1] & 31) };
                if bits & PLURAL != 0 {
                    lasts[b's' as usize] |= 1 << (words[at] & 31);
                }
            }
            at += 1;
        }
        entry += 1;
    }
    let mut capital = b'A';
    while capital <= b'Z' {
        lasts[capital as usize] = lasts[(capital | 0x20) as usize];
        capital += 1;
    }
    lasts
};

/// Tells whether a listed word can end with `last` behind `before`, which may be what parts two words, or no part of any.
#[inline]
pub(crate) fn may_end_short(before: u8, last: u8) -> bool {
    let befores = LASTS[usize::from(last)];
    last >= 0x80 || if before.is_ascii_alphanumeric() { befores >> (before & 31) & 1 != 0 } else { befores != 0 }
}

/// Tells whether a listed word of `count` letters or more can end with these letters.
pub(super) fn may_go_on(letters: u64, count: usize) -> bool {
    match count {
        4 => FOURS.admits(letters),
        6 => SIXES.admits(letters),
        _ => true,
    }
}

/// The listed words of three letters and fewer, the last letter first.
static SHORTS: Trios = {
    let mut shorts = Trios([0; 512]);
    let mut entry = 0;
    while entry < ENTRIES.len() {
        let (bits, words) = ENTRIES[entry];
        let words = words.as_bytes();
        let mut start = 0;
        while start < words.len() {
            let mut end = start;
            while end < words.len() && words[end] != b' ' {
                end += 1;
            }
            let (mut letters, mut plural) = ([0; 3], [(b's' & 31) as usize, 0, 0]);
            let mut i = 0;
            while i < end - start && i < 3 {
                letters[i] = (words[end - 1 - i] & 31) as usize;
                if i < 2 {
                    plural[i + 1] = letters[i];
                }
                i += 1;
            }
            if end > start && end - start <= 3 {
                shorts.put(letters);
            }
            if end > start && end - start <= 2 && bits & PLURAL != 0 {
                shorts.put(plural);
            }
            start = end + 1;
        }
        entry += 1;
    }
    shorts
};

/// Tells whether a listed word, or a group of words, can end with the letters before `end`: by three of them.
#[inline]
pub(crate) fn may_end(bytes: &[u8], floor: usize, end: usize) -> bool {
    if let Some([c, b, a]) = end.checked_sub(3).filter(|from| *from >= floor).and_then(|from| bytes.get(from..end))
        && FOLD[usize::from(*a)] != 0
        && FOLD[usize::from(*b)] != 0
        && FOLD[usize::from(*c)] != 0
    {
        return ENDS.admits(*a, *b, *c);
    }
    // Where there are fewer letters, only shorter words admit the rest. Accents are not told this way.
    last_letters(bytes, floor, end).is_none_or(|([a, b, c, _], _)| ENDS.admits(a, b, c))
}

/// Tells whether a listed word can end with these letters, the last first.
#[inline]
pub(crate) fn ends_word(last: u8, second: u8, third: u8) -> bool {
    ENDS.admits(last, second, third)
}

/// Tells what [`may_end`] does, by four letters: for callers who ask for what the words say and for nothing else.
#[inline]
pub(crate) fn may_say(bytes: &[u8], floor: usize, end: usize) -> bool {
    if let Some(head) = end.checked_sub(4).filter(|from| *from >= floor).and_then(|from| bytes.get(from..end))
        && let Some(last @ [d, c, b, a]) = head.first_chunk()
        && [a, b, c, d].iter().all(|letter| FOLD[usize::from(**letter)] != 0)
    {
        return ENDINGS.admits(*last) || ENDS.admits(*a, *b, *c) && is_short(*a, *b, *c);
    }
    match last_letters(bytes, floor, end) {
        Some((letters, 4)) => admits(letters),
        Some(([a, b, c, _], _)) => ENDS.admits(a, b, c),
        None => true,
    }
}

/// Returns the last four letters before `end` and how many there are, one separator allowed between any two; `None` where
/// one has an accent.
fn last_letters(bytes: &[u8], floor: usize, end: usize) -> Option<([u8; 4], usize)> {
    let mut letters = [0_u8; 4];
    let (mut count, mut at, mut parted) = (0, end, true);
    while count < 4 && at > floor {
        at -= 1;
        let byte = bytes[at];
        if FOLD[usize::from(byte)] != 0 {
            letters[count] = byte;
            count += 1;
            parted = false;
        } else if byte >= 0x80 {
            return None;
        } else if parted || !matches!(byte, b'_' | b'-' | b'.' | b' ' | b'\'') {
            break;
        } else {
            parted = true;
        }
    }
    Some((letters, count))
}

/// Tells whether a listed word can end with these letters, the last first.
fn admits(letters: [u8; 4]) -> bool {
    let [a, b, c, _] = letters;
    ENDS.admits(a, b, c) && (FOURS.admits(letters.into_iter().fold(0, tail)) || is_short(a, b, c))
}

/// Tells whether a word of three letters and fewer can be listed that ends with these, the last first.
#[inline]
fn is_short(a: u8, b: u8, c: u8) -> bool {
    SHORTS.admits(a, b, c) || SHORTS.admits(a, b, 0) || SHORTS.admits(a, 0, 0)
}

/// Which three letters a month's name can start with.
static MONTHS: Trios = Trios::of(MONTH_ENTRIES, false);

/// Tells whether a month's name can start at `at`.
pub(crate) fn may_start_month(bytes: &[u8], at: usize) -> bool {
    match bytes.get(at..at + 3) {
        Some([a, b, c]) if a.is_ascii_alphabetic() => (b | c) & 0x80 != 0 || MONTHS.admits(*a, *b, *c),
        _ => false,
    }
}

/// Returns what the word says whose letters were taken in from its last to its first.
pub(crate) fn backwards(hash: u64) -> Option<u64> {
    TABLE.get(hash)
}

/// What a byte is in a word: its folded letter or digit, or 0.
pub(crate) static FOLD: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = match b {
            b'a'..=b'z' | b'0'..=b'9' => b,
            b'A'..=b'Z' => b + 32,
            _ => 0,
        };
        byte += 1;
    }
    table
};

/// Returns the letter without its accent, of the second byte of a character that starts with `0xC3`.
pub(crate) const fn unaccented(second: u8) -> u8 {
    match second {
        0x80..=0x85 | 0xA0..=0xA5 => b'a',
        0x87 | 0xA7 => b'c',
        0x88..=0x8B | 0xA8..=0xAB => b'e',
        0x8C..=0x8F | 0xAC..=0xAF => b'i',
        0x91 | 0xB1 => b'n',
        0x92..=0x96 | 0xB2..=0xB6 => b'o',
        0x99..=0x9C | 0xB9..=0xBC => b'u',
        0x9F => b's',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(word: &str) -> Option<u64> {
        backwards(word.bytes().rev().fold(seed(), step))
    }

    #[test]
    fn words_are_found_with_all_that_they_say() {
        assert_eq!(bits("siret"), Some(SIRET));
        assert_eq!(bits("telephones"), Some(PHONE | PHONE_KEY));
        assert_eq!(bits("contact").map(|bits| bits & (PHONE | ROLE | MAYBE_PERSON)), Some(PHONE | ROLE | MAYBE_PERSON));
        assert_eq!(bits("filename"), Some(0));
        assert_eq!(bits("nosuchword"), None);
        let used = TABLE.hashes.iter().filter(|hash| **hash != 0).count();
        assert!(used * 2 < SLOTS, "{used} of {SLOTS}");
    }
}
